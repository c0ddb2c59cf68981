"""What candidates are judged by without a network: cheap filters, functional keys, hurdles, selection."""
