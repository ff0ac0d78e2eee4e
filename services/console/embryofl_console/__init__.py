"""The coordinator's console.

Before Gradio is imported: none of its switches is taken from the environment, such as to share it or to allow files, and
nothing is sent or looked up elsewhere.
"""

import os

for _name in [n for n in os.environ if n.startswith("GRADIO_") and n != "GRADIO_TEMP_DIR"]:
    del os.environ[_name]
os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", GRADIO_SHARE="False", GRADIO_SSR_MODE="False")
