"""Programs of a few lines that come with an export: they run without mu2net."""

TIMM = '''\
"""Run: python example.py photo.jpg (needs: pip install timm)"""
import json, sys
from pathlib import Path
import timm, torch
from PIL import Image, ImageOps
folder = Path(__file__).parent
photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGBA")  # upright, and transparency on white
photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg))
with torch.no_grad():
    logits = model(transform(photo)[None])[0]
print(json.loads((folder / "labels.json").read_text(encoding="utf-8"))[int(logits.argmax())])
'''

PROGRAM = '''\
"""Run: python example.py photo.jpg (needs: pip install torch numpy pillow)"""
import json, sys
from pathlib import Path
import numpy as np, torch
from PIL import Image, ImageOps
folder = Path(__file__).parent
photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGBA")  # upright, and transparency on white
photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
side = json.loads((folder / "facts.json").read_text(encoding="utf-8"))["preprocessing"]["size"]
model = torch.export.load(folder / "model.pt2").module()
pixels = np.array(photo.resize(side, Image.Resampling.BILINEAR))
logits = model(torch.from_numpy(pixels[None]))[0][0]
print(json.loads((folder / "labels.json").read_text(encoding="utf-8"))[int(logits.argmax())])
'''

ONNX = '''\
"""Run: python example.py photo.jpg (needs: pip install onnxruntime numpy pillow)"""
import json, sys
from pathlib import Path
import numpy as np, onnxruntime
from PIL import Image, ImageOps
folder = Path(__file__).parent
photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGBA")  # upright, and transparency on white
photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
session = onnxruntime.InferenceSession(folder / "model.onnx")
tasks = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
sizes = {task["input"]: task["preprocessing"]["size"] for task in tasks}
inputs = {name: np.array(photo.resize(size, Image.Resampling.BILINEAR))[None] for name, size in sizes.items()}
for task, logits in zip(tasks, session.run([task["output"] for task in tasks], inputs)):
    print(task["task"], task["classes"][int(logits[0].argmax())])
'''
