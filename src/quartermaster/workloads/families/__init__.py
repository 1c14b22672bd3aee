"""One module per family of kinds: how its objects say what pods they have, and how a pod says which one it is."""
