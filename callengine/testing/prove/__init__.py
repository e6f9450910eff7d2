"""The proof: drawn calls, held on a virtual clock, checked against every law."""
