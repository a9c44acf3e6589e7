"""Which theory meets which simulation: studies, records, comparisons and the command line."""
