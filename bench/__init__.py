"""How fast, how soon, how much: each module asks one question and answers it side by side."""
