"""A model file in float32 -> the same model with its trunk in float16 or int8, measured beside it before it is kept.

- trunk: which nodes of any graph that keeps the contract are the trunk.
- half, eight: the two conversions. What stands before the trunk (raw units) and behind it (the score) stays float32.
- material: windows to find ranges by, held-back rows to judge by, out of DATA.
- quality, speed: both files side by side, on the same windows and in turn.
- order: all of it, to one file or none.
"""
