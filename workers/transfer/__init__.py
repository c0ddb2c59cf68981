"""Tasks that no search trains on: whether a layer that was found for classification serves elsewhere.

After Liu et al. 2020, who took their layers to instance segmentation and to image synthesis, at the size of a laptop:
a U-Net that segments digits, and a class-conditional GAN that draws them. All data comes from scikit-learn's digits
and all randomness from a seed.
"""
