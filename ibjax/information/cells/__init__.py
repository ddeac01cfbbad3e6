"""Which patterns share a cell: found by a hash table on a CPU, by sorting elsewhere."""
