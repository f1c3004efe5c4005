/* Starts the page that `polymodal predict --html` writes. */
"use strict";
(() => {
  const media = document.querySelector("video, audio");
  if (media) media.addEventListener("error", () => { document.getElementById("unplayable").hidden = false; });
  const timeline = JSON.parse(document.getElementById("timeline").textContent);
  polymodal.renderTimeline(document.getElementById("view"), timeline, media);
})();
