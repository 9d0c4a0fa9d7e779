// What a flame graph does when it is looked at: fits the window, tells of what is pointed at, zooms to what is clicked,
// marks what is searched. Without it the picture is the same, at its first width.
(function () {
    "use strict";
    const svg = document.documentElement;
    const ROW = 18, SIDE = 10, CHAR = 7.25;
    const detail = document.getElementById("detail");
    const matched = document.getElementById("matched");
    const reset = document.getElementById("reset");
    const firstDetail = detail.textContent;
    const nodes = Array.from(document.querySelectorAll("g.n"), function (g) {
        return {
            g: g,
            rect: g.querySelector("rect"),
            text: g.querySelector("text"),
            title: g.querySelector("title").textContent,
            name: g.getAttribute("data-f"),
            x: Number(g.getAttribute("data-x")),
            bytes: Number(g.getAttribute("data-b")),
            depth: Number(g.getAttribute("data-d"))
        };
    });
    const root = nodes[0];
    let zoomed = root;

    function fit(text, width) {
        const room = Math.floor((width - 6) / CHAR);
        if (room >= text.length)
            return text;
        return room >= 4 ? text.slice(0, room - 2) + ".." : "";
    }

    function draw() {
        const width = Math.max(600, window.innerWidth || 0);
        const scale = (width - 2 * SIDE) / zoomed.bytes;
        svg.setAttribute("width", width);
        svg.setAttribute("viewBox", "0 0 " + width + " " + svg.getAttribute("height"));
        for (const node of nodes) {
            const above = node.depth < zoomed.depth;
            let left = (node.x - zoomed.x) * scale, right = left + node.bytes * scale;
            if (above && left <= 0.001 && right >= width - 2 * SIDE - 0.001) {
                left = 0;
                right = width - 2 * SIDE;
            }
            const wide = right - left;
            const shown = wide >= 0.3 && left > -0.5 && right < width - 2 * SIDE + 0.5 &&
                (!above || wide >= width - 2 * SIDE - 0.001);
            node.g.style.display = shown ? "" : "none";
            if (!shown)
                continue;
            node.g.style.opacity = above ? 0.55 : 1;
            node.rect.setAttribute("x", SIDE + left);
            node.rect.setAttribute("width", wide);
            node.text.setAttribute("x", SIDE + left + 3);
            node.text.textContent = fit(node.name, wide);
        }
        reset.style.display = zoomed === root ? "none" : "";
        for (const right of document.querySelectorAll("text.right"))
            right.setAttribute("x", width - SIDE);
        document.getElementById("paper").setAttribute("width", width);
    }

    function zoom(node) {
        zoomed = node;
        draw();
    }

    // Bytes of matching nodes, those below another match not counted again.
    function search(wanted) {
        let sum = 0, end = -1;
        const order = nodes.slice().sort(function (a, b) { return a.x - b.x || a.depth - b.depth; });
        let pattern = null;
        try {
            pattern = wanted ? new RegExp(wanted, "i") : null;
        } catch (error) {
            matched.textContent = "no regular expression: " + wanted;
            return;
        }
        for (const node of order) {
            const hit = pattern !== null && pattern.test(node.name);
            node.g.classList.toggle("hit", hit);
            if (hit && node.x >= end) {
                sum += node.bytes;
                end = node.x + node.bytes;
            }
        }
        matched.textContent = pattern === null ? "" : "/" + wanted + "/: " + (100 * sum / root.bytes).toFixed(1) + "%";
    }

    function ask() {
        search(window.prompt("Mark functions that match (regular expression; empty: none)", ""));
    }

    for (const node of nodes) {
        node.g.addEventListener("click", function () { zoom(node); });
        node.g.addEventListener("mouseover", function () { detail.textContent = node.title.replace(/\n/g, "   "); });
        node.g.addEventListener("mouseout", function () { detail.textContent = firstDetail; });
    }
    reset.addEventListener("click", function () { zoom(root); });
    document.getElementById("search").addEventListener("click", ask);
    window.addEventListener("resize", draw);
    window.addEventListener("keydown", function (event) {
        if (event.key === "Escape")
            zoom(root);
        if (event.key === "/" || (event.key === "f" && event.ctrlKey)) {
            event.preventDefault();
            ask();
        }
    });
    draw();
}());
