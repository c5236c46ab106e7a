"""Export of a masked model to smaller files without masks and training code, which `Utils.exported` loads."""
