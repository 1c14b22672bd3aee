"""Results for people and programs: a terminal table, one HTML page, JSON and CSV."""
