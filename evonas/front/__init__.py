"""What users call: search and resume, the parts that a configuration names, and the check of the machine."""
