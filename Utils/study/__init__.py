"""Many runs together: read from the store, grouped, averaged, compared. Needs neither torch nor a corpus."""
