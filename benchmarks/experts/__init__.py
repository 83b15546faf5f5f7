"""What a mixture of experts costs, in each form."""
