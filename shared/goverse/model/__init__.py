"""Values that every part speaks: keys, frames, records. No IO, no object classes."""
