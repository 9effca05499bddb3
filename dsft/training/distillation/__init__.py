"""What a student learns from its teacher beside the labels."""
