/** The embedded player: the stage and nothing else. */
import { html, icon } from "./dom.js";
import { openStage } from "./stage-page.js";

const stage = openStage({ render() {} });
if (stage) {
  const label = "Open the full page";
  const out = html(
    "a",
    { class: "tool", href: location.pathname.replace("/embed/", "/watch/"), target: "_blank", rel: "noopener", title: label, "aria-label": label },
    icon("open"),
  );
  stage.controls.insertBefore(out, stage.full);
}
