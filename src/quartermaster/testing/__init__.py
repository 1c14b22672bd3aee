"""For tests of your own: builders and hypothesis strategies. Needs hypothesis, which the product does not."""
