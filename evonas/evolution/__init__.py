"""The search itself: proposing candidates, having them evaluated, breeding from the best."""
