/** The dialog with all conversations: open or delete one. */

import { attempt, confirmed, h, icon, openDialog } from "../dom.js";
import { call } from "../host.js";
import { when } from "../words.js";

export function openHistory(talk) {
  attempt(async () => {
    const { conversations } = await call("conversations.list");
    const list = h("ul", { class: "conversations" });
    const { dialog } = openDialog("Conversations", list);
    const open = (id) => async () => {
      await talk.open(id);
      dialog.close();
    };
    const remove =
      (item, { id, title }) =>
      async () => {
        if (!(await confirmed(`Delete “${title || "Untitled"}”?`, "Delete"))) return;
        if (talk.conversation.id === id) await talk.begin();
        await call("conversations.delete", { id });
        item.remove();
      };
    for (const each of conversations) {
      const name = h("span", {}, each.title || "Untitled", h("small", {}, when(each.updated)));
      const isOpen = each.id === talk.conversation.id;
      const item = h("li", {});
      item.append(
        h(
          "button",
          { class: "item", "aria-current": isOpen ? "true" : null, click: () => attempt(open(each.id)) },
          name,
        ),
        h(
          "button",
          {
            class: "quiet round",
            "aria-label": `Delete ${each.title}`,
            click: () => attempt(remove(item, each)),
          },
          icon("bin"),
        ),
      );
      list.append(item);
    }
    if (!conversations.length) list.append(h("li", { class: "lead" }, "Nothing yet."));
  });
}
