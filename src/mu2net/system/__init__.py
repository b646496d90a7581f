"""The façade that users import: ``mu2net.System``."""
