"""Compare ways to a low-bit model on one training budget."""
