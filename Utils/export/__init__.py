"""From a masked model to files that need no masks, no training code and less room. `Utils.exported` loads them."""
