"""Networks: encoders, decoders, the segmenter G, the discriminator D, batch norm in two domains.

Imports core and data's class sets; it knows nothing of domains, files or losses.
"""
