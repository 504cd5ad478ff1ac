"""Writers of generated pages in docs/. Not part of the wheel."""
