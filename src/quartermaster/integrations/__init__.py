"""Other systems: what is said to them and read from them, one module each."""
