"""The default head: several views of a window, each a distance from normal, scaled by normal and fused into one score.

parts: closed forms. encoder: a Conv1D network, where one is asked for. plan: which views there are. scales: what each
is usually, and the fusion. judged: what each weighs. graph: all of it as one exported function. typed: which type of
fault. fit: from history to a file, and what calibrates it.
"""
