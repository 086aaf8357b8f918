"""On what TensorFlow computes: a GPU where it sees one."""

from __future__ import annotations

from training.network import loading


def described() -> str:
    """Return which device a fit runs on, for the log. A GPU's memory is taken as it is needed from then on."""
    loading.tensorflow()
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if not found:
        return "CPU, as TensorFlow sees no GPU"
    for one in found:
        try:
            tf.config.experimental.set_memory_growth(one, True)
        except RuntimeError:
            break  # this process has computed on it already
    name = tf.config.experimental.get_device_details(found[0]).get("device_name", "of unknown name")
    return f"GPU, {name}" + (f", the first of {len(found)}" if len(found) > 1 else "")
