"""Training, in blocks that a killed job resumes to the same result as if it had never stopped."""
