"""Pages for people: what the API answers, as HTML that a browser without scripts can read."""
