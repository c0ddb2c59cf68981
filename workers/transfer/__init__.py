"""Tasks that no search trains on, which show whether a layer found for classification helps elsewhere.

Liu et al. 2020 tested their layers on instance segmentation and image synthesis. These tasks do so at the scale of a
laptop: a U-Net that segments digits, and a class-conditional GAN that generates them. All data comes from
scikit-learn's digits, and all randomness from a seed.
"""
