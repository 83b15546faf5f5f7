"""PSNR and SSIM by the authors' protocol."""
