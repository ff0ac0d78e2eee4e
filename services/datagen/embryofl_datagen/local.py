"""The Compose file of a federation's clinics on one machine."""


def clinics_file(count: int, kind: str, gpu: bool = False) -> str:
    """The services and volumes of `count` clinics, which extend the templates in compose.clinic.yaml or compose.gpu.yaml.

    The first line is for scripts/compose.sh: where their images come from (as in `count_clinics`), and their names.
    """
    clinic, app = "{file: compose.clinic.yaml, service: clinic}", "{file: compose.clinic.yaml, service: app}"
    more = app_more = ""
    if gpu:
        clinic, more = "{file: compose.gpu.yaml, service: clinic-gpu}", "profiles: !reset [], "
        app_more = "image: embryofl-clinic:cuda, "
    names = [f"clinic-{number}" for number in range(1, count + 1)]
    lines = [f"x-clinics: {kind} {' '.join(names)}", "services:"]
    lines.append(f"  datagen: {{volumes: [{', '.join(f'{name}-data:/out/{name}' for name in names)}]}}")
    for name in names:
        volumes = f'volumes: ["{name}-data:/data:ro", "{name}-state:/state"]'
        lines.append(f"  {name}: {{extends: {clinic}, {more}{volumes}}}")
        lines.append(f"  {name}-app: {{extends: {app}, {app_more}{volumes}}}")
    lines += ["volumes:", *(f"  {name}-{what}:" for name in names for what in ("data", "state"))]
    return "\n".join(lines) + "\n"
