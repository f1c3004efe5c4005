"""``polymodal push``."""

from __future__ import annotations

EXAMPLES = {
    "push": """\
  polymodal push runs/mmcl-clips org/name
  polymodal push runs/mmcl-clips org/name --private
  polymodal push runs/mmcl-clips org/name --card-only > README.md"""
}


def push(run: str, repo: str, *, private: bool = False, card_only: bool = False) -> int:
    """Upload a run with a model card to the Hugging Face hub, for 'polymodal predict ORG/NAME'.

    Args:
        run: folder of a run
        repo: org/name on the hub; log in with 'hf auth login' first
        private: make a new repository private
        card_only: print the model card and upload nothing
    """
    if card_only:
        from polymodal.predict.card import model_card
        from polymodal.train.run import Run

        print(model_card(Run.load(run), repo), end="")
        return 0
    from polymodal.data.progress import console
    from polymodal.predict.hub import push as upload

    console.print(f"uploaded: {upload(run, repo, private=private)}", soft_wrap=True)
    return 0
