"""Views of sample sets: numbers, pictures, comparisons, frames of other tools."""
