"""What evolves, as pure values: no torch, no files, no clocks, no global state."""
