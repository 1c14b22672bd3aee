"""One scheduling cycle, as a pure function: order the groups, place them, and say why where it cannot."""
