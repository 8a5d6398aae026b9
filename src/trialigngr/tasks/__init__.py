"""The eight tasks as rows of data: what an item looks like, what is asked, and how it becomes packed token rows."""
