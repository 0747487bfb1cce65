#!/usr/bin/env python3
"""Make the golden reference of pairs that a reranker of the Qwen2.5-VL architecture scores, in the manner of
lychee-rerank-mm (arXiv 2510.14824): `rerank.json` for the checkpoint of `make_golden.py`, with its head tied and with
one of its own.

    python3 -m venv v && v/bin/pip install torch torchvision pillow transformers==4.51.3
    v/bin/python make_golden_rerank.py --fixture tests/golden/tiny-a --media tests/golden/media

Pictures are resized by the checkpoint's own processor. The checkpoint has no token `yes`, so that two others stand in
the place of the labels; with a head of its own, the rows of all other tokens are zero. `training` has the gradients of the
yes/no loss with the tied head, a yes for every second case. Same arguments, same file.
"""
import argparse, json, pathlib, re
import torch
from PIL import Image
from transformers import Qwen2TokenizerFast, Qwen2VLImageProcessor, Qwen2_5_VLForConditionalGeneration

SYSTEM = ('Judge whether the Document meets the requirements based on the Query and the Instruct provided. '
          'Note that the answer can only be "yes" or "no".')
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
MAX_LENGTH = 3200
LABELS = ("left", "right")

def T(text): return {"type": "text", "text": text}
def I(name): return {"type": "image", "image": name, "min_pixels": 4 * 784, "max_pixels": 20 * 784}

CASES = [
    ("text_text", None, [T("a rabbit in the meadow")], [T("The rabbit looks at a butterfly.")], {}),
    ("instruction", " Retrieve images ", [T("a tall tree")], [I("tall.png")], {}),
    ("images", None, [T("now in the forest"), I("rabbit.png")], [T("see "), I("tall.png"), T("here"), I("rabbit.png")], {}),
    ("truncated", None, [T("a bicycle rides down the street slowly " * 6), I("rabbit.png")], [T("red blue green " * 30)],
     {"max_length": 160}),
]

def main():
    a = argparse.ArgumentParser(); a.add_argument("--fixture", required=True); a.add_argument("--media", required=True)
    a.add_argument("--seed", type=int, default=7); a = a.parse_args()
    folder, media = pathlib.Path(a.fixture), pathlib.Path(a.media)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / "model", torch_dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = Qwen2TokenizerFast.from_pretrained(folder / "model")
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    labels = [tokenizer.get_vocab()[label] for label in LABELS]
    torch.manual_seed(a.seed)
    head = torch.zeros_like(model.lm_head.weight.detach())
    head[labels] = torch.randn(2, head.shape[1])

    def side(parts):
        """Images, then texts, as the user's turn has them, and the images' patches."""
        text, done = "", []
        for part in sorted(parts, key=lambda part: part["type"] != "image"):
            if part["type"] == "text": text += part["text"]; continue
            processor = Qwen2VLImageProcessor.from_pretrained(folder / "model", min_pixels=part["min_pixels"], max_pixels=part["max_pixels"])
            one = processor(images=[Image.open(media / part["image"]).convert("RGB")], return_tensors="pt")
            count = int(one["image_grid_thw"].prod()) // 4
            text += "<|vision_start|>" + "<|image_pad|>" * count + "<|vision_end|>"; done.append(one)
        return text, done

    cases, lost = [], []
    for name, instruction, query, document, more in CASES:
        (q, of_q), (d, of_d) = side(query), side(document)
        prompt = (f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n<Instruct>: {instruction or INSTRUCTION}<Query>:{q}"
                  f"\n<Document>:{d}<|im_end|>\n<|im_start|>assistant\n")
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        end = len(tokenizer("<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)["input_ids"])
        kept, limit = ids[:-end], more.get("max_length", MAX_LENGTH)
        room = limit - sum(i in special for i in kept); cut = []
        for i in kept:
            if i in special: cut.append(i)
            elif room > 0: cut.append(i); room -= 1
        ids = cut + ids[-end:]
        inputs = {"input_ids": torch.tensor([ids])}; inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if of_q + of_d:
            for key in ("pixel_values", "image_grid_thw"): inputs[key] = torch.cat([one[key] for one in of_q + of_d])
        h = model(**inputs, output_hidden_states=True).hidden_states[-1][0, -1]
        # The first and the third are right answers, say.
        label = len(lost) % 2
        lost.append(-torch.log_softmax(model.get_input_embeddings().weight[labels] @ h, 0)[label])
        h = h.detach()
        record = {"name": name, "instruction": instruction, "query": query, "document": document, **more, "input_ids": ids,
                  "image_grid_thw": inputs["image_grid_thw"].tolist() if "image_grid_thw" in inputs else []}
        for key, weight in (("tied", model.get_input_embeddings().weight.detach()), ("untied", head)):
            yes, no = (weight[labels] @ h).tolist()
            record[key] = {"logit_yes": yes, "logit_no": no, "score": float(torch.sigmoid(torch.tensor(yes - no)))}
        assert torch.allclose(model(**inputs).logits[0, -1][labels], torch.tensor([record["tied"]["logit_yes"], record["tied"]["logit_no"]]), atol=1e-5)
        cases.append(record); print(name, len(ids), record["tied"], record["untied"])
    loss = torch.stack(lost).mean()
    language = {name: weight for name, weight in model.named_parameters() if name.startswith("model.")}
    slopes = dict(zip(language, torch.autograd.grad(loss, language.values())))
    training = {"loss": loss.item(), "norms": {name: slope.norm().item() for name, slope in sorted(slopes.items())},
                "label_rows": slopes["model.embed_tokens.weight"][labels].tolist(), "norm_weight": slopes["model.norm.weight"].tolist()}
    text = json.dumps({"system": SYSTEM, "default_instruction": INSTRUCTION, "labels": LABELS, "label_ids": labels,
                       "head": head[labels].tolist(), "training": training, "cases": cases}, indent=1)
    text = re.sub(r"\[[\s\d.,eE+-]+\]", lambda m: "[" + ", ".join(m[0][1:-1].replace(",", " ").split()) + "]", text)
    (folder / "rerank.json").write_text(text + "\n")

if __name__ == "__main__":
    main()
