"""For tests of your own: scenarios; and builders and hypothesis strategies, which alone need hypothesis."""
