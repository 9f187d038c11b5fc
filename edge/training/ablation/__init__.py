"""Ways to a low-bit model, trained on one budget and set side by side."""
