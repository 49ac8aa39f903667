"""The table's rows, one stanza per operation, by family."""
