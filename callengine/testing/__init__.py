"""The public test kit: a simulated caller, a simulated model, and calls between them."""
