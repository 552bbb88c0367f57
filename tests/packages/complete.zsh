# SPDX-License-Identifier: MIT OR Apache-2.0
# complete.zsh LINE: what an interactive zsh offers at the end of LINE, one word a line. Only a terminal has a line to
# complete, so there is a shell in one, whose compadd tells what it is given.
zmodload zsh/zpty
inner() {
    fpath=($PWD/completions $fpath)
    autoload -Uz compinit && compinit -D -u
    PS1=
    compadd() {
        if [[ ${@[1,(i)(-|--)]} != *-[OAD]\ * ]]; then
            local -a hits
            builtin compadd -O hits "$@"
            (($#hits)) && print -l -- "<"$^hits">"
        fi
        builtin compadd "$@"
    }
    ask() { zle complete-word; print '<end>'; exit }
    zle -N ask && bindkey '^I' ask
    print '<start>'
}
zpty shell zsh -f -i
zpty -w shell "$(functions inner)"$'\n'" inner"
zpty -r -m shell seen '*<start>*'
zpty -w -n shell "$1"$'\t'
zpty -r -m shell seen '*<end>*'
print -r -- "$seen" | tr -d '\r' | sed -n 's/.*<\(.*\)>.*/\1/p' | grep -v '^\(start\|end\)$' | sort -u
