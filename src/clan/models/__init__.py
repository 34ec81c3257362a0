"""Networks: encoders, decoders, the segmenter G, the discriminator D, batch norm for two domains.

Imports core and data's class sets, but no data sets, files or losses.
"""
