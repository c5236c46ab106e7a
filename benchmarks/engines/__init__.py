"""Jobs of this project beside the engines that a user would take instead."""
