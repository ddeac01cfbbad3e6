"""What shows runs to others: one page for a browser that needs no net, and event files for TensorBoard."""
