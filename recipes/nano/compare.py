#!/usr/bin/env python3
"""Embed a text, a picture and a video with transformers and with gve, and print the cosines between the two.

    pip install torch torchvision transformers==4.51.3 qwen-vl-utils==0.0.11 av decord
    compare.py --model assets/nano --gve target/release/gve --image A.png --video B.mp4

Shows that a checkpoint loads in transformers as it is, with every weight in its place, and is an example of how to embed with it there.
"""
import argparse
import json
import subprocess

import torch
from qwen_vl_utils import process_vision_info
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration


def load(directory):
    model, loading = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        directory, torch_dtype=torch.float32, output_loading_info=True)
    wrong = {kind: names for kind, names in loading.items() if names}
    if wrong:
        raise SystemExit(f"compare.py: {directory}: weights are not what transformers expects: {wrong}")
    return model.eval(), AutoProcessor.from_pretrained(directory)


@torch.inference_mode()
def embed(model, processor, content):
    """The embedding of one message: the last hidden state of the `<|endoftext|>` after it, of length 1."""
    messages = [{"role": "user", "content": content}]
    prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + "<|endoftext|>"
    images, videos, settings = process_vision_info(messages, return_video_kwargs=True)
    inputs = processor(text=[prompt], images=images, videos=videos, return_tensors="pt", **settings)
    hidden = model(**inputs, output_hidden_states=True).hidden_states[-1][0, -1]
    return torch.nn.functional.normalize(hidden, dim=-1)


def gve_embed(gve, model, frames, content):
    command = [gve, "embed", "--quiet", "--dtype", "f32", "--model", model, "--input", "-", "--frames", str(frames)]
    line = json.dumps({"id": "it", "content": content})
    done = subprocess.run(command, input=line, stdout=subprocess.PIPE, text=True, check=True)
    return torch.tensor(json.loads(done.stdout)["embedding"])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="assets/nano", help="directory in Hugging Face layout")
    arguments.add_argument("--gve", default="target/release/gve", help="the program")
    arguments.add_argument("--text", default="A red star jumps.")
    arguments.add_argument("--image", required=True)
    arguments.add_argument("--video", required=True)
    arguments.add_argument("--frames", type=int, default=8)
    options = arguments.parse_args()

    model, processor = load(options.model)
    limit = processor.image_processor.max_pixels
    image = {"type": "image", "image": options.image, "max_pixels": limit, "min_pixels": processor.image_processor.min_pixels}
    video = {"type": "video", "video": options.video, "nframes": options.frames, "max_pixels": limit}
    text = {"type": "text", "text": options.text}
    for name, content in [("text", [text]), ("image", [image]), ("video", [video]), ("image and text", [image, text])]:
        theirs = embed(model, processor, content)
        ours = gve_embed(options.gve, options.model, options.frames, content)
        print(f"{name}: cosine {torch.dot(ours, theirs).item():.6f}")


if __name__ == "__main__":
    main()
