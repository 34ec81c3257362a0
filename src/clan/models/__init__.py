"""The networks: encoders, classifiers, the segmenter, the discriminator, weights."""
