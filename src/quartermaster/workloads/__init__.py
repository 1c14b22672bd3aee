"""What users submit as pod groups: which pods belong together, how many are needed, in which order they can exist."""
