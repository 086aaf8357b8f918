"""The default head: several views of a window, each a distance from normal, scaled by normal and fused into one score.

parts: closed forms. encoder: the Conv1D network. scales: what each is usually, and the fusion. graph: all of it as one
exported function. fit: from history to a file, and what calibrates it.
"""
