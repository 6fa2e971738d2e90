"""Values shared by all parts of GoVerse: keys, frames, records. No IO and no object classes."""
